window.ui = SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  // No request to another host: Swagger's validator is one.
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
});
