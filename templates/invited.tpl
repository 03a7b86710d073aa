% rebase('layout.tpl')
% include('_crumbs.tpl')
<div class="box">
<h1>{{page.title}}</h1>
<p>Give this link to <strong><bdi>{{page.subject}}</bdi></strong>. It signs in once, within {{page.days}} days, and is shown only now:</p>
<p class="once"><code><bdi>{{page.link}}</bdi></code></p>
<div class="actions">
  <button class="button solid" type="button" data-copy="{{page.link}}" data-done="Copied" hidden>Copy the link</button>
  <a class="button" href="{{url(page.person)}}">Done</a>
</div>
</div>
