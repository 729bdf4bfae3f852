import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * PowerShell for the DHCP server of Windows Server 2012 or later: classes, and policies of the whole server that are
 * looked at in their order. Option 66 is what that server puts into siaddr. A vendor class matches as a beginning where a
 * `*` stands behind its name; each of these is told apart by its architecture, which stands in option 60.
 */
export function windowsConfig(rules: readonly BootRule[]): readonly string[] {
  const classes = rules.flatMap(classesOf).map(({ type, title, data }) => {
    return `Add-DhcpServerv4Class -Name '${title}' -Type ${type} -Data '${data}'`;
  });
  return [
    'if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {',
    "  Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class identifier' -Type String",
    '}',
    ...new Set(classes),
    ...rules.flatMap((rule, index) => {
      const { server, file } = rule;
      const name = `bootseal-${rule.name}`;
      const value = (id: number, text: string) =>
        `Set-DhcpServerv4OptionValue -PolicyName '${name}' -OptionId ${id} -Value '${text}'`;
      return [
        `Add-DhcpServerv4Policy -Name '${name}' ${conditionOf(rule)} -ProcessingOrder ${index + 1}`,
        ...(isHttpBoot(rule) ? [value(60, 'HTTPClient')] : []),
        value(66, server),
        value(67, file),
      ];
    }),
  ];
}

interface ClassFacts {
  readonly type: 'User' | 'Vendor';
  readonly title: string;
  readonly data: string;
}

/** Named by what they are compared with: that may be defined once alone. */
function classesOf({ match }: BootRule): readonly ClassFacts[] {
  const vendor = (data: string): ClassFacts => ({
    type: 'Vendor',
    title: `bootseal-${data.replaceAll(':', '-')}`,
    data,
  });
  if (match.by === 'firmware')
    return match.architectures.map((type) => vendor(`${match.vendor}:Arch:${String(type).padStart(5, '0')}`));
  const { text } = match;
  return [
    { type: 'User', title: `bootseal-user-${text}`, data: text },
    ...(match.vendor === undefined ? [] : [vendor(match.vendor)]),
  ];
}

function conditionOf(rule: BootRule): string {
  const classes = classesOf(rule);
  const [user] = classes.filter(({ type }) => type === 'User');
  const vendors = classes.filter(({ type }) => type === 'Vendor').map(({ title }) => `'${title}*'`);
  return [
    `-Condition ${user && vendors.length > 0 ? 'AND' : 'OR'}`,
    ...(user ? [`-UserClass EQ,'${user.title}'`] : []),
    ...(vendors.length > 0 ? [`-VendorClass EQ,${vendors.join(',')}`] : []),
  ].join(' ');
}
