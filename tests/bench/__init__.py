"""How fast attestd is, as ratios that were measured in one run: `make bench`, or `python -m tests.bench --help`.

measure.py        samples, rounds, and what a row is
rows.py           every row: what is divided by what, and the goal
report.py         the table and the JSON
verification.py   the verifier of TDX, in this process, beside bare signatures
snp.py            the verifier of SEV-SNP, likewise, with each of two libraries
gpu.py            the verifier of NVIDIA's GPUs, likewise, and a machine with eight of them
peer.py           dcap-qvl, tinfoil and NVIDIA's own verifier, in processes of other environments
recording.py      durable inserts, beside row-by-row SQLModel
service.py        the service, beside a raw ASGI answer
raw.py            that raw ASGI application
client.py         the HTTP client
"""
