"""The server face: an HTTP/1.1 protocol for uvicorn that bounds what clients may do."""
