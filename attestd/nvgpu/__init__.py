"""NVIDIA GPUs and NVSwitches: parse (`spdm`), authenticate `device` and reference values (`rim`), `verify`."""
