"""What leaves: the output tables, spreadsheets, charges at payment gateways."""
