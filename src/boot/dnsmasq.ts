/**
 * Lines for a dnsmasq that serves DHCP on the LAN: they send each kind of machine to the loader that can
 * verify there. Architectures are RFC 4578's, as corrected by its erratum (x64 is 7, and 9 in the field).
 *
 * @param server the address that machines fetch from.
 */
export function dnsmasqLines(
  server: string,
  loaders: { readonly bios: string; readonly efi: string },
): string[] {
  return [
    'dhcp-match=set:bootseal-bios,option:client-arch,0',
    `dhcp-boot=tag:bootseal-bios,${loaders.bios},,${server}`,
    'dhcp-match=set:bootseal-efi,option:client-arch,7',
    'dhcp-match=set:bootseal-efi,option:client-arch,9',
    `dhcp-boot=tag:bootseal-efi,${loaders.efi},,${server}`,
  ];
}
