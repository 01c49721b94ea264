/** Shows why a request failed. */
export const Problem = ({ error }: { readonly error: Error | undefined }) => (
  <p class="problem" role="alert">
    {error?.message}
  </p>
)
