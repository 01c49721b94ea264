/**
 * Reads Server-Sent Events from an answer to `fetch`, because a browser's EventSource cannot send
 * the API key.
 */
export interface ServerEvent {
  readonly name: string
  readonly data: string
}

/** Reads one block of lines. A comment is a line whose field has no name. */
const readBlock = (block: string) => {
  const fields = new Map<string, string>()
  for (const line of block.split('\n')) {
    const [, name = '', value = ''] = /^([a-z]*):? ?(.*)$/.exec(line) ?? []
    fields.set(name, name === 'data' && fields.has('data') ? `${fields.get('data')}\n${value}` : value)
  }
  return fields
}

/**
 * Resolves when the stream ends.
 * @param onId called with the position after which the stream continues, also for a heartbeat.
 */
export const readServerEvents = async (
  answer: Response,
  onEvent: (event: ServerEvent) => void,
  onId: (id: string) => void,
): Promise<void> => {
  let rest = ''
  for await (const part of answer.body!.pipeThrough(new TextDecoderStream())) {
    const blocks = `${rest}${part}`.replaceAll('\r\n', '\n').split('\n\n')
    rest = blocks.pop() ?? ''
    for (const fields of blocks.map(readBlock)) {
      const [id, name, data] = [fields.get('id'), fields.get('event'), fields.get('data')]
      if (id !== undefined) onId(id)
      if (data !== undefined) onEvent({ name: name ?? 'message', data })
    }
  }
}
