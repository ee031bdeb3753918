"""`--ci`: report a command's runs to the CI system."""
