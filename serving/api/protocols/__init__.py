"""The protocols of other servers, each in a module that parses and renders; what answers is the same."""
