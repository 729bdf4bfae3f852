import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * Commands for OpenWrt's shell: sections `userclass`, `match` and `boot` of /etc/config/dhcp, of which its init script
 * makes dnsmasq's lines. A `boot` section has no field for a second condition, so the rules stand the other way round: of
 * several --dhcp-boot in a file that fit, dnsmasq takes the last. A server's address counts only beside a server's name.
 */
export function openwrtConfig(rules: readonly BootRule[]): readonly string[] {
  return [
    ...[...rules].reverse().flatMap((rule) => {
      const { match, server, file } = rule;
      const tag = `bootseal_${rule.name.replaceAll('-', '_')}`;
      const section = (name: string, kind: string, values: Readonly<Record<string, string>>) => [
        `uci set dhcp.${name}='${kind}'`,
        ...Object.entries(values).map(([key, value]) => `uci set dhcp.${name}.${key}='${value}'`),
      ];
      const found =
        match.by === 'user-class'
          ? section(`${tag}_class`, 'userclass', { networkid: tag, userclass: match.text })
          : match.architectures.flatMap((type) =>
              section(`${tag}_${type}`, 'match', { networkid: tag, match: `option:client-arch,${type}` }),
            );
      return [
        ...found,
        ...section(`${tag}_boot`, 'boot', {
          networkid: tag,
          filename: file,
          servername: server,
          serveraddress: server,
        }),
        ...(isHttpBoot(rule)
          ? [
              `uci set dhcp.${tag}_boot.force='1'`,
              `uci -q delete dhcp.${tag}_boot.dhcp_option`,
              `uci add_list dhcp.${tag}_boot.dhcp_option='60,HTTPClient'`,
            ]
          : []),
      ];
    }),
    'uci commit dhcp',
    'service dnsmasq restart',
  ];
}
