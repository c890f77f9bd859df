"use strict";
// Beside the page and not in it: the content security policy allows no inline script.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#api",
  deepLinking: true,
  filter: true,
  // No badge: it would ask a validator on the internet.
  validatorUrl: null,
  // The token stays in this page's memory and is gone with it.
  persistAuthorization: false,
});
