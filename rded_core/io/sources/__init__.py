"""TODO-keep"""
