"""Files, folders and archives → documents: plain values with the places that they were read from."""
