"""accounts"""
revision = "4b1d"
down_revision = None
