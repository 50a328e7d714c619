debian util-linux tar mount openssl xz-utils zip unzip zstd
