import { type BootRule, isHttpBoot } from './boot-rules.ts';

/**
 * PowerShell for the DHCP server of Windows Server 2012 or later: classes, and policies of the whole server that are
 * looked at in their order. Option 66 is what that server puts into siaddr. A vendor class matches as a beginning where a
 * `*` stands behind its name; each of these is told apart by its architecture, which stands in option 60.
 */
export function windowsConfig(rules: readonly BootRule[]): readonly string[] {
  return [
    'if (-not (Get-DhcpServerv4OptionDefinition -OptionId 60 -ErrorAction SilentlyContinue)) {',
    "  Add-DhcpServerv4OptionDefinition -OptionId 60 -Name 'Vendor class identifier' -Type String",
    '}',
    ...rules.flatMap((rule, index) => {
      const { match, server, file } = rule;
      const name = `bootseal-${rule.name}`;
      const classes =
        match.by === 'user-class'
          ? [{ type: 'User', title: name, data: match.text }]
          : match.architectures.map((type) => ({
              type: 'Vendor',
              title: `${name}-${type}`,
              data: `${match.vendor}:Arch:${String(type).padStart(5, '0')}`,
            }));
      const condition =
        match.by === 'user-class'
          ? `-UserClass EQ,'${name}'`
          : `-VendorClass EQ,${classes.map(({ title }) => `'${title}*'`).join(',')}`;
      const value = (id: number, text: string) =>
        `Set-DhcpServerv4OptionValue -PolicyName '${name}' -OptionId ${id} -Value '${text}'`;
      return [
        ...classes.map(
          ({ type, title, data }) => `Add-DhcpServerv4Class -Name '${title}' -Type ${type} -Data '${data}'`,
        ),
        `Add-DhcpServerv4Policy -Name '${name}' -Condition OR ${condition} -ProcessingOrder ${index + 1}`,
        ...(isHttpBoot(rule) ? [value(60, 'HTTPClient')] : []),
        value(66, server),
        value(67, file),
      ];
    }),
  ];
}
