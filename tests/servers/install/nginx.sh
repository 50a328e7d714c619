# nginx: an HTTP server with DAV, basic auth, client certificates, and bearer tokens that an OAuth2 server vouches for
# (that one is in the Python environment of python.sh).
debian nginx-full openssl
