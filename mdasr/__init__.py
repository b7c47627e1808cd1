"""mdasr"""
