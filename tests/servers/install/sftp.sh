debian openssh-server openssh-client
