/** What a server says at `/metrics`, in Prometheus' text format. */
export class Exposition {
  readonly text: string;
  /** By series as it is spelt: `bootseal_ready`, `bootseal_connections{server="http"}`. */
  readonly series = new Map<string, number>();
  /** By name, as rules use it; of each label, its values. */
  readonly names = new Map<string, Map<string, Set<string>>>();

  private constructor(text: string) {
    this.text = text;
    for (const line of text.split('\n')) {
      const [, name, labels = '', value] = /^([a-z_]+)(\{[^}]*\})? (\S+)$/.exec(line) ?? [];
      if (name === undefined || value === undefined) continue;
      this.series.set(name + labels, Number(value.replace('Inf', 'Infinity')));
      const known = this.names.get(name) ?? new Map<string, Set<string>>();
      this.names.set(name, known);
      for (const [, label = '', of = ''] of labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) {
        const values = known.get(label) ?? new Set<string>();
        known.set(label, values.add(of));
      }
    }
  }

  /** @param url of the server: `http://127.0.0.1:8080` */
  static async of(url: string): Promise<Exposition> {
    return new Exposition(await (await fetch(`${url}/metrics`)).text());
  }

  static from(text: string): Exposition {
    return new Exposition(text);
  }

  /** @param series without its prefix: `transfers_total{server="http",outcome="complete"}` */
  value(series: string): number | undefined {
    return this.series.get(`bootseal_${series}`);
  }
}
