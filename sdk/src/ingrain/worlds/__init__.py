"""World generators."""
