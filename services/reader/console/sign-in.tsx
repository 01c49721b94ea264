import { useSignal } from '@preact/signals'
import type { TargetedSubmitEvent } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { ApiError, refusal, signIn } from './api.ts'

const REFUSED = 'The reader refused this API key.'

export const SignIn = () => {
  const isAsking = useSignal(false)
  const input = useRef<HTMLInputElement>(null)
  const focus = () => input.current?.focus()
  useEffect(focus, [])
  const submit = async (event: TargetedSubmitEvent<HTMLFormElement>) => {
    event.preventDefault()
    const key = String(new FormData(event.currentTarget).get('key') ?? '').trim()
    isAsking.value = true
    refusal.value = undefined
    try {
      await signIn(key)
    } catch (error) {
      refusal.value = error instanceof ApiError && error.status === 401 ? REFUSED : (error as Error).message
      focus()
    } finally {
      isAsking.value = false
    }
  }
  return (
    <main class="sign-in" id="main">
      <form class="card" onSubmit={submit}>
        <h1>customer-stream</h1>
        <p>Sign in with an API key of the reader. This tab keeps the key until you close it.</p>
        <label for="key">API key</label>
        <input
          ref={input}
          {...{ id: 'key', name: 'key', type: 'password', autocomplete: 'off', spellcheck: false }}
          aria-describedby="refusal"
          aria-invalid={refusal.value !== undefined}
        />
        <p id="refusal" class="problem" role="alert">
          {refusal.value}
        </p>
        <button class="main" type="submit" disabled={isAsking.value}>
          Sign in
        </button>
      </form>
    </main>
  )
}
