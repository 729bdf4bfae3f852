/** A value that holds an address on the network: a URL, or what NFS, NBD and iSCSI are named by. */
// HOST:/PATH is NFS, //HOST/SHARE is CIFS.
export const NETWORK_ADDRESS =
  /:\/\/|^(nfs4?|nbd|iscsi|cifs|fcoe|http|https|ftp|tftp|live:nfs4?|overlay:nbd):|^\/\/|^(?!(file|live|hd|cdrom|path|dev):)[A-Za-z0-9.-]+:\/(?!\/)/;
