/**
 * Lines that send UEFI machines to one image, by PXE and by HTTP Boot. Whether a machine enforces Secure Boot it does
 * not say over DHCP: one that does refuses every other loader by itself.
 */
export function ukiDnsmasqLines(server: string, image: string, port: number): string[] {
  const [pxe, http] = ARCHITECTURES;
  return [
    ...pxe.map((type) => `dhcp-match=set:bootseal-uki,option:client-arch,${type}`),
    `dhcp-boot=tag:bootseal-uki,${image},,${server}`,
    ...http.map((type) => `dhcp-match=set:bootseal-uki-http,option:client-arch,${type}`),
    // Firmware takes an offer without this word back for one that is not meant for it.
    'dhcp-option-force=tag:bootseal-uki-http,60,HTTPClient',
    `dhcp-boot=tag:bootseal-uki-http,http://${server}${port === 80 ? '' : `:${port}`}/${image}`,
  ];
}

/** UEFI x64 over PXE and over HTTP (IANA's processor architecture types). */
const ARCHITECTURES = [[7, 9], [16]] as const;

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
