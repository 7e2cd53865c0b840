"""The HTTP face: routes, parameters, header fields, problems, OpenAPI, health."""
