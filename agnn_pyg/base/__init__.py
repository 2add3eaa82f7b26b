"""What both recommenders share: tables, files, settings, training and commands."""
