debian krb5-kdc krb5-admin-server krb5-user libgssapi-krb5-2
