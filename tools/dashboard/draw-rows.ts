import { picture } from '../../bench/report/svg.ts'
import { drawPanel, PANEL_STYLE, PANEL_WIDTH, type PanelData, type Span } from './panel.ts'

const IN_A_LINE = 3
const TITLE_HEIGHT = 40

/** Draws the panels of one row of the dashboard, three in a line. Returns an SVG. */
export const drawRow = (title: string, panels: readonly PanelData[], span: Span): string => {
  const drawn = panels.map((panel) => drawPanel(panel, span))
  let y = TITLE_HEIGHT
  const placed: string[] = []
  for (let i = 0; i < drawn.length; i += IN_A_LINE) {
    const line = drawn.slice(i, i + IN_A_LINE)
    placed.push(...line.map(({ body }, column) => `<g transform="translate(${column * PANEL_WIDTH} ${y})">${body}</g>`))
    y += Math.max(...line.map(({ height }) => height)) + 10
  }
  return picture(PANEL_WIDTH * Math.min(IN_A_LINE, panels.length), y, title, PANEL_STYLE, placed.join('\n'))
}
