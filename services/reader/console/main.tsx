/** The console: one page with a view for each question. */
import { type ComponentType, render } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { apiKey, signOut } from './api.ts'
import { Dealers } from './dealers.tsx'
import { Flow } from './flow.tsx'
import { LookUp } from './look-up.tsx'
import { Overview, StateBadge } from './overview.tsx'
import { watchPipeline } from './pipeline.ts'
import { addressOf, place } from './place.ts'
import { Quarantine } from './quarantine.tsx'
import { SignIn } from './sign-in.tsx'

interface View {
  readonly id: string
  readonly name: string
  readonly Content: ComponentType
}

const VIEWS: readonly [View, ...View[]] = [
  { id: 'overview', name: 'Overview', Content: Overview },
  { id: 'flow', name: 'Flow', Content: Flow },
  { id: 'look-up', name: 'Look-up', Content: LookUp },
  { id: 'quarantine', name: 'Quarantine', Content: Quarantine },
  { id: 'dealers', name: 'Dealers', Content: Dealers },
]

const Navigation = ({ current }: { readonly current: View }) => (
  <nav aria-label="Views">
    <ul>
      {VIEWS.map(({ id, name }) => (
        <li key={id}>
          <a href={addressOf(id)} aria-current={id === current.id ? 'page' : undefined}>
            {name}
          </a>
        </li>
      ))}
    </ul>
  </nav>
)

const Console = () => {
  const current = VIEWS.find((view) => view.id === place.value.view) ?? VIEWS[0]
  const heading = useRef<HTMLHeadingElement>(null)
  const { id, name, Content } = current
  useEffect(watchPipeline, [])
  useEffect(() => {
    document.title = `${name} – customer-stream`
    heading.current?.focus()
  }, [id])
  return (
    <>
      <button class="skip" type="button" onClick={() => heading.current?.focus()}>
        Skip to the content
      </button>
      <header class="page">
        <strong>customer-stream</strong>
        <StateBadge />
        <Navigation current={current} />
        <a href="docs">API</a>
        <button type="button" onClick={() => signOut()}>
          Sign out
        </button>
      </header>
      <main id="main">
        <h1 ref={heading} tabIndex={-1}>
          {name}
        </h1>
        <Content />
      </main>
    </>
  )
}

const App = () => (apiKey.value === undefined ? <SignIn /> : <Console />)

render(<App />, document.body)
