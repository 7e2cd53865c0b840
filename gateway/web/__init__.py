"""The HTTP interface: routes, parameters, header fields, problems, OpenAPI, health."""
