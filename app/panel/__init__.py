"""The control plane: pages and JSON under `/login` and `/admin`. It renders and asks; services decide."""
