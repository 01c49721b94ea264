/** Pictures of the dashboard's panels, drawn from the data of a real Prometheus. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { drawRow } from '../../tools/dashboard/draw-rows.ts'
import type { PanelData, Span } from '../../tools/dashboard/panel.ts'
import { dashboardRows, type Panel } from '../../tools/generate-dashboard.ts'
import type { Monitoring, Series } from './monitoring.ts'

/** Names of the processes, by the address of their admin port. */
export type Instances = ReadonlyMap<string, string>

const legend = (template: string, { metric }: Series, instances: Instances): string =>
  template.replaceAll(/\{\{(\w+)\}\}/g, (_, label) => {
    const value = metric[label] ?? ''
    return instances.get(value) ?? value
  })

const readPanel = async (panel: Panel, monitoring: Monitoring, span: Span, instances: Instances) => {
  const lines: PanelData['lines'][number][] = []
  for (const [name, expr] of Object.entries(panel.queries))
    for (const series of await monitoring.range(expr, span.from, span.to)) {
      const points = series.values.map(([time, value]) => [time, Number(value)] as const)
      lines.push({
        name: legend(name, series, instances),
        points: points.filter(([, value]) => Number.isFinite(value)),
      })
    }
  return {
    title: panel.title,
    unit: panel.unit,
    steps: panel.steps ?? false,
    lines: lines.filter(({ points }) => points.length > 0),
  }
}

/** Draws one picture for each row of the dashboard into a folder. */
export const drawPictures = async (
  monitoring: Monitoring,
  span: Span,
  instances: Instances,
  folder: string,
): Promise<void> => {
  mkdirSync(folder, { recursive: true })
  for (const [title, panels] of Object.entries(dashboardRows)) {
    const data: PanelData[] = []
    for (const panel of panels) data.push(await readPanel(panel, monitoring, span, instances))
    const name = title.toLowerCase().replaceAll(' ', '-')
    writeFileSync(join(folder, `dashboard-${name}.svg`), drawRow(title, data, span))
  }
}
