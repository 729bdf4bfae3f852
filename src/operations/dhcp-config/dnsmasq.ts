import { type BootRule, isHttpBoot, needsTwoOptions } from './boot-rules.ts';

/**
 * Lines for dnsmasq (dnsmasq(8): --dhcp-match, --dhcp-userclass, --dhcp-boot). Of several --dhcp-boot that fit, which
 * one counts is not written there: each excludes the ones before it by name.
 */
export function dnsmasqConfig(rules: readonly BootRule[]): readonly string[] {
  const lines = rules.flatMap((rule) => {
    const { file, server } = rule;
    const tag = tagOf(rule);
    return [
      ...foundBy(rule),
      // Firmware takes an offer without this word back for one that is not meant for it.
      ...(isHttpBoot(rule) ? [`dhcp-option-force=tag:${tag},60,HTTPClient`] : []),
      `dhcp-boot=${conditionsOf(rule, rules)},${file},,${server}`,
    ];
  });
  return [...new Set(lines)];
}

function foundBy(rule: BootRule): readonly string[] {
  const { match } = rule;
  const tag = tagOf(rule);
  if (match.by === 'firmware')
    return match.architectures.map((type) => `dhcp-match=set:${tag},option:client-arch,${type}`);
  const { text, vendor } = match;
  const byClass = `dhcp-userclass=set:${classTag(text)},${text}`;
  return vendor === undefined ? [byClass] : [byClass, `dhcp-vendorclass=set:${tag},${vendor}`];
}

/** Its own tags, and none of a rule before it. */
function conditionsOf(rule: BootRule, rules: readonly BootRule[]): string {
  const { match } = rule;
  const own = match.by === 'firmware' ? [tagOf(rule)] : ownTags(rule, match.text);
  const others = rules
    .slice(0, rules.indexOf(rule))
    .flatMap((other) => (other.match.by === 'firmware' ? [] : [ownTags(other, other.match.text)[0] ?? '']))
    // What comes by firmware is no iPXE at all; that which one of them begins with, it may have itself.
    .filter(
      (tag) =>
        match.by === 'user-class' || !rules.some((other) => needsTwoOptions(other) && tagOf(other) === tag),
    )
    .filter((tag) => !own.includes(tag));
  return [...own.map((tag) => `tag:${tag}`), ...new Set(others.map((tag) => `tag:!${tag}`))].join(',');
}

function ownTags(rule: BootRule, text: string): readonly string[] {
  return needsTwoOptions(rule) ? [tagOf(rule), classTag(text)] : [classTag(text)];
}

function classTag(text: string): string {
  return `bootseal-class-${text.toLowerCase()}`;
}

/**
 * The same beside another server that gives the addresses. dnsmasq then answers those alone for whom it has a service
 * (dnsmasq(8): --pxe-service), and never HTTP Boot, whose rules must not be among these. iPXE gets none: with a service it would be shown a menu.
 */
export function dnsmasqProxyConfig(rules: readonly BootRule[]): readonly string[] {
  const server = rules[0]?.server ?? '';
  const services = rules.flatMap((rule) => {
    const { match, file, what } = rule;
    if (match.by === 'user-class') return [];
    const conditions = conditionsOf(rule, rules);
    return match.architectures.map((type) => `pxe-service=${conditions},${type},"${what}",${file},${server}`);
  });
  return ['port=0', `dhcp-range=${server},proxy`, ...dnsmasqConfig(rules), ...services];
}

function tagOf({ name }: BootRule): string {
  return `bootseal-${name}`;
}
