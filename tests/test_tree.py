"""Whatever ends a render, its output is wholly the old or wholly the new one."""
