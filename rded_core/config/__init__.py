"""TODO-config"""
