debian util-linux procps tar mount openssl bzip2 xz-utils zip unzip zstd diffutils python3
