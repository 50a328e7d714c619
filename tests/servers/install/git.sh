# git and what serves it: over http by nginx and the CGI of git itself, over ssh, and by its own daemon.
debian git nginx-full fcgiwrap openssh-server openssh-client openssl
