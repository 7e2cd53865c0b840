"""What tests of dashboards rely on: respx intercepts every upstream call."""
