"""The HTTP API: routes, request parsing, access and admission control, responses and errors."""
