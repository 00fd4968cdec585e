"""The registry on TON: its contract, what is read of it with proofs, what is sent to it."""
