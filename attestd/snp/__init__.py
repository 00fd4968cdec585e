"""AMD SEV-SNP reports: parse (`report`, `certtable`), authenticate the key that signs (`vek`), `verify`."""
