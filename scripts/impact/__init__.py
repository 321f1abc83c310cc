"""What a change does to the environments when it is merged: compared, judged, told."""
