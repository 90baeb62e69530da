"""The lab: servers measured side by side, in three stages that meet only in the saved results."""
