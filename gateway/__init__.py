"""An API aggregation gateway: one YAML file in, merged dashboards out."""
