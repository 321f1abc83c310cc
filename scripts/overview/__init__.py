"""What runs where: all environments at a glance, from what is committed and, if asked, live."""
