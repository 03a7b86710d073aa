% rebase('layout.tpl')
% if page.crumbs:
%   include('_crumbs.tpl')
% end
<h1 class="home">{{page.title}}</h1>
% if page.apps:
<h2 class="visually-hidden">Applications</h2>
<ul class="apps">
%   for app in page.apps:
  <li>
    <a class="card" href="{{url(app.address)}}">
      <span class="tile" aria-hidden="true">{{app.icon or app.title[:1].upper()}}</span>
      <span class="card-text"><strong><bdi>{{app.title}}</bdi></strong>
%     if app.note:
      <span class="note">{{app.note}}</span>
%     end
      </span>
    </a>
  </li>
%   end
</ul>
% end
% if page.groups:
<div class="groups">
%   for group in page.groups:
  <section>
    <h2 class="{{'visually-hidden' if page.crumbs else ''}}">{{group.title}}</h2>
    <ul class="links">
%     for item in group.items:
      <li><a href="{{url(item.address)}}"><strong><bdi>{{item.title}}</bdi></strong>
%       if item.note:
        <span class="note">{{item.note}}</span>
%       end
      </a></li>
%     end
    </ul>
  </section>
%   end
</div>
% end
% if page.sign_in:
<div class="empty">
%   if page.apps or page.groups:
  <p>There may be more for you here once you have signed in.</p>
%   else:
  <p>Nothing here is open to everyone. Sign in to see what is yours.</p>
%   end
  <p><a class="button solid" href="{{url('login')}}">Sign in</a></p>
</div>
% elif not page.apps and not page.groups:
<div class="empty">
  <p><strong>Nothing here yet.</strong></p>
  <p>Nothing of this kind is open to you. {{f"Ask {contact} for access." if contact else "Ask the person who runs this site for access."}}</p>
</div>
% end
