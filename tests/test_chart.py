"""What a user of the chart relies on."""
