"""What tools/prepare_data.py does: fetch, unpack and lay out the public data sets, and see what is there."""
