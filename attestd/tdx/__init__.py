"""Intel TDX and SGX quotes: parse (`quote`), authenticate (`pck`, `collateral`), select the level (`tcb`), `verify`."""
