"""The tables and figures of Mahendran & Vedaldi, Understanding Deep Image Representations by Inverting Them (2015)."""
