% # A question that needs no script: the real button is inside a disclosure.
% # Wants: label (of the disclosure, for people who cannot see it), action, what (the thing's name).
<details class="confirm" name="confirm">
  <summary class="button danger" aria-label="{{label}}"><svg class="icon" aria-hidden="true"><use href="{{static('icon.svg')}}#trash"/></svg><span class="word"> Delete…</span></summary>
  <form class="panel" method="post" action="{{action}}">
% include('_token.tpl')
    <input type="hidden" name="_method" value="DELETE">
    <p>Delete <strong><bdi>{{what}}</bdi></strong>? This cannot be undone.</p>
    <button class="button danger solid">Delete</button>
  </form>
</details>
