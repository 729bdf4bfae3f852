import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * Lines for dnsmasq (dnsmasq(8): --dhcp-match, --dhcp-userclass, --dhcp-boot). Of several --dhcp-boot that fit, which
 * one counts is not written there: each excludes the ones before it by name.
 */
export function dnsmasqConfig(rules: readonly BootRule[]): readonly string[] {
  const classes = rules.filter(({ match }) => match.by === 'user-class').map(tagOf);
  return rules.flatMap((rule) => {
    const { match, file, server } = rule;
    const tag = tagOf(rule);
    const found =
      match.by === 'user-class'
        ? [`dhcp-userclass=set:${tag},${match.text}`]
        : match.architectures.map((type) => `dhcp-match=set:${tag},option:client-arch,${type}`);
    const before = match.by === 'user-class' ? classes.slice(0, classes.indexOf(tag)) : classes;
    const conditions = [`tag:${tag}`, ...before.map((other) => `tag:!${other}`)].join(',');
    return [
      ...found,
      // Firmware takes an offer without this word back for one that is not meant for it.
      ...(isHttpBoot(rule) ? [`dhcp-option-force=tag:${tag},60,HTTPClient`] : []),
      `dhcp-boot=${conditions},${file},,${server}`,
    ];
  });
}

/**
 * The same beside another server that gives the addresses. dnsmasq then answers those alone for whom it has a service
 * (dnsmasq(8): --pxe-service), and never HTTP Boot, whose rules must not be among these. iPXE gets none: with a service it would be shown a menu.
 */
export function dnsmasqProxyConfig(rules: readonly BootRule[]): readonly string[] {
  const classes = rules.filter(({ match }) => match.by === 'user-class').map(tagOf);
  const server = rules[0]?.server ?? '';
  const services = rules.flatMap((rule) => {
    const { match, file, what } = rule;
    if (match.by === 'user-class') return [];
    const conditions = [`tag:${tagOf(rule)}`, ...classes.map((other) => `tag:!${other}`)].join(',');
    return match.architectures.map((type) => `pxe-service=${conditions},${type},"${what}",${file},${server}`);
  });
  return ['port=0', `dhcp-range=${server},proxy`, ...dnsmasqConfig(rules), ...services];
}

function tagOf({ name }: BootRule): string {
  return `bootseal-${name}`;
}
